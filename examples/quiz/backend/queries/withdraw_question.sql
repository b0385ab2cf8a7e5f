-- $1 bigint: question
UPDATE questions SET deleted_at = coalesce(deleted_at, now()) WHERE id = $1::bigint
