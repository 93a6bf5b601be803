-- This session's commits wait for the disk, whatever the role's default is; one that waits for more stays as it is.
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')
