-- +goose Up
CREATE TABLE answers (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Minted with the form: sending the same form twice is one answer.
    attempt     uuid NOT NULL UNIQUE,
    question_id bigint NOT NULL,
    position    smallint NOT NULL,
    -- What was true when the answer was given; a later edit of the question does not rewrite history.
    correct     boolean NOT NULL,
    -- NULL: somebody who was not signed in.
    user_id     text CHECK (char_length(user_id) BETWEEN 1 AND 255),
    answered_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (question_id, position) REFERENCES choices (question_id, position)
);

-- +goose Down
DROP TABLE answers;
