-- Waits for every transaction of the member before, which holds the row FOR KEY SHARE. A statement of its own: what
-- those transactions wrote is seen by the next one's snapshot only.
SELECT 1 FROM position WHERE subscription = $1 AND topic = $2 AND partition = $3 FOR UPDATE
