-- Whoever waits for a stream while it holds others holds up their appenders, too: not for longer than $1.
SELECT set_config('lock_timeout', $1::text, true)
