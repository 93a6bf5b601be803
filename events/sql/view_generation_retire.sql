-- The live generation becomes the old one, with the place it had reached.
UPDATE sagabus.view_generation SET live = false, seq = $2::bigint WHERE view = $1::text AND live
