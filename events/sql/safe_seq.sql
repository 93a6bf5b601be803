-- Up to here everything is committed, durable and visible: the cursor of the sequencer's lease.
SELECT cursor FROM sagabus.lease WHERE role = 'sequencer'
