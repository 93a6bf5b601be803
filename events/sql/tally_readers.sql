-- Who counts now (of a view the live generation) and has moved since it was compared.
SELECT r.role, r.generation FROM sagabus.tally_reader r JOIN sagabus.lease l USING (role)
WHERE (r.generation = 0 OR r.generation = l.next) AND r.looked_seq <> l.cursor ORDER BY r.role
