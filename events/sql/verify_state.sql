-- How far history is sealed by the keeper's word, by the seals themselves, and how far it could be.
SELECT (SELECT cursor FROM sagabus.lease WHERE role = 'keeper'),
       (SELECT max(to_seq) FROM sagabus.event_seal),
       (SELECT cursor FROM sagabus.lease WHERE role = 'sequencer')
