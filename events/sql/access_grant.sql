SELECT sagabus.access_grant()
