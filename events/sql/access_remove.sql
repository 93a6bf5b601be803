SELECT sagabus.access_remove($1::text::name)
