-- Below it nothing appears any more; what a view commits after it has read this lies behind it in the log.
SELECT cursor FROM sagabus.lease WHERE role = 'sequencer'
