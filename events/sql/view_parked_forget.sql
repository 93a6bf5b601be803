-- What was parked in generations that do not stand any more, or never came to be live.
DELETE FROM sagabus.view_parked p
WHERE p.view = $1::text
  AND NOT EXISTS (SELECT FROM sagabus.view_generation g WHERE g.view = p.view AND g.generation = p.generation)
