DELETE FROM quarantine WHERE subscription = $1 AND topic = $2 AND key = $3
