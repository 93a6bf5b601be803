-- Another position: the owner finds its epoch gone and begins anew there.
UPDATE sagabus.lease SET epoch = epoch + 1, cursor = $2::bigint WHERE role = 'push:' || $1::text
