SELECT sagabus.access_add($1::text::name, $2::text)
