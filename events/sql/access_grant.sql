SELECT roles, todo FROM sagabus.access_grant()
