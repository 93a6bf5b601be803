-- The highest generation number ever given: 1 is the projector's own, so that a first replay never meets it.
SELECT greatest(1, (SELECT max(generation) FROM sagabus.view_generation WHERE view = $1::text),
                (SELECT next FROM sagabus.lease WHERE role = 'view:' || $1::text))
