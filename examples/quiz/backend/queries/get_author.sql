-- Whose question this is; locks it so that an edit and a delete do not cross.
-- $1 bigint: question
SELECT author_id FROM questions WHERE id = $1::bigint AND deleted_at IS NULL FOR UPDATE
