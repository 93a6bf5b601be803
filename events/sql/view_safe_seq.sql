-- Below it nothing appears any more; written by the sequencer with synchronous_commit=on.
SELECT cursor FROM sagabus.lease WHERE role = 'sequencer'
