-- The switch: a projector that still works on the old generation finds its epoch gone, and takes the lease anew with
-- the new generation and its place.
UPDATE sagabus.lease SET epoch = epoch + 1, cursor = $2::bigint, next = $3::bigint, detail = '{}' WHERE role = $1::text
