-- A lane is given back; nothing of it is in doubt.
DELETE FROM sagabus.append_lane WHERE lane = $1::uuid
