-- Waits for the projector's open transaction, then keeps it out until this one ends.
SELECT cursor, next FROM sagabus.lease WHERE role = $1::text FOR UPDATE
