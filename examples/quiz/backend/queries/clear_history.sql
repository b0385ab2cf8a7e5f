-- Takes the user's name off every answer; how a question was answered stays countable.
-- $1 text: user
UPDATE answers SET user_id = NULL WHERE user_id = $1::text
