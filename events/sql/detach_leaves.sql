-- The leaves of a class ($1: event_domain, event_saga) whose events are all below $2, in order; what was begun and not
-- ended is marked. Their names end with their upper bound.
SELECT c.relname, substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''?([0-9]+)')::bigint,
       substring(c.relname FROM '_([0-9]+)$')::bigint - 1, greatest(c.reltuples, 0)::bigint, pg_total_relation_size(c.oid),
       i.inhdetachpending
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = ('sagabus.' || $1::text)::regclass
  AND substring(c.relname FROM '_([0-9]+)$')::bigint <= $2::bigint
ORDER BY 3
