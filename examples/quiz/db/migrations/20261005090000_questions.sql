-- +goose Up
CREATE TABLE questions (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lang        text NOT NULL CHECK (lang IN ('en', 'ja')),
    category    text NOT NULL,
    prompt      text NOT NULL CHECK (char_length(prompt) BETWEEN 8 AND 200),
    explanation text NOT NULL DEFAULT '' CHECK (char_length(explanation) <= 600),
    -- NULL: one of the questions that came with the application; nobody may edit those.
    author_id   text CHECK (char_length(author_id) BETWEEN 1 AND 255),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz
);

CREATE TABLE choices (
    question_id bigint NOT NULL REFERENCES questions (id) ON DELETE CASCADE,
    position    smallint NOT NULL CHECK (position BETWEEN 1 AND 4),
    text        text NOT NULL CHECK (char_length(text) BETWEEN 1 AND 120),
    correct     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (question_id, position)
);

-- One correct choice at most; that there is one at all, and four in total, is a rule of the backend (backend/rules.py).
CREATE UNIQUE INDEX choices_one_correct ON choices (question_id) WHERE correct;

-- +goose Down
DROP TABLE choices;
DROP TABLE questions;
