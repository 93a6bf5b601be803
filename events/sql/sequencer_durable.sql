-- What is published must be on disk before anyone can see it, whatever the role's default is; sequencer_tick knows the
-- one exception.
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')
