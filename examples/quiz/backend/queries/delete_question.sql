-- Hides a question; answers that were given to it stay in their owners' history.
-- $1 bigint: question · $2 text: author
UPDATE questions SET deleted_at = now()
WHERE id = $1::bigint AND author_id = $2::text AND deleted_at IS NULL
RETURNING id
