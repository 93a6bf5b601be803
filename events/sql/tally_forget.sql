-- What was counted by generations of a view that do not stand any more, or never came to be live. Leans on the primary keys.
WITH gone AS (
    SELECT x.role, x.generation FROM (
        SELECT role, generation FROM sagabus.tally_reader WHERE role = 'view:' || $1::text
        UNION SELECT role, generation FROM sagabus.tally WHERE role = 'view:' || $1::text) x
    WHERE NOT EXISTS (SELECT FROM sagabus.view_generation g WHERE g.view = $1::text AND g.generation = x.generation)
), counts AS (
    DELETE FROM sagabus.tally t USING gone WHERE t.role = gone.role AND t.generation = gone.generation
), gaps AS (
    DELETE FROM sagabus.tally_gap t USING gone WHERE t.role = gone.role AND t.generation = gone.generation
)
DELETE FROM sagabus.tally_reader t USING gone WHERE t.role = gone.role AND t.generation = gone.generation
