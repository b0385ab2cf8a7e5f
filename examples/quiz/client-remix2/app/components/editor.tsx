// The form in which questions are written and changed, with what is wrong beside each field.

import type { ReactNode } from "react";
import { Form } from "@remix-run/react";

import type { Draft, Problems } from "~/services/backend.server";

import { CsrfField, useSay } from "./common";

const TOPICS = ["art", "history", "places", "science", "words"];
const LANGS = ["en", "ja"];

interface Given {
  readonly draft: Draft;
  readonly problems?: Problems;
  readonly preview?: boolean;
}

export function Editor({ draft, problems = {}, preview = false }: Given) {
  const say = useSay();
  const isNew = draft.id === "0";
  const title = say(isNew ? "editor-new" : "editor-change");
  const described = (field: string, hint?: string): object => {
    const ids = [hint, field in problems ? `${field}-problem` : undefined].filter(Boolean).join(" ");
    return { ...(field in problems && { "aria-invalid": true }), ...(ids !== "" && { "aria-describedby": ids }) };
  };
  const problem = (field: string): ReactNode =>
    field in problems && (
      <span className="problem" id={`${field}-problem`}>
        {say(field === "correct" ? "problem-correct" : `problem-${problems[field]}`)}
      </span>
    );
  return (
    <section className="narrow">
      <h1>{title}</h1>
      <p className="lead">{say("editor-lead")}</p>
      {Object.keys(problems).length > 0 && (
        <div className="notice" role="alert">
          <p>
            <strong>{say("problems-title")}</strong>
          </p>
        </div>
      )}
      <Form className="editor" method="post" action={isNew ? "/questions" : `/questions/${draft.id}`}>
        <CsrfField />
        <p className="field">
          <label htmlFor="prompt">{say("field-prompt")}</label>
          <textarea id="prompt" name="prompt" rows={3} maxLength={200} required defaultValue={draft.prompt} {...described("prompt", "prompt-hint")} />
          <span className="hint" id="prompt-hint">
            {say("field-prompt-hint")}
          </span>
          {problem("prompt")}
        </p>
        <fieldset className="field" {...described("correct", "choices-hint")}>
          <legend>{say("field-choices")}</legend>
          <span className="hint" id="choices-hint">
            {say("field-choices-hint")}
          </span>
          {draft.choices.map((choice, index) => {
            const [letter, field] = ["ABCD"[index]!, `choice${index + 1}`];
            return (
              <div className="option" key={field}>
                <input type="radio" name="correct" value={index + 1} aria-label={say("field-correct", { letter })} required defaultChecked={draft.correct === index + 1} />
                <input type="text" name={field} defaultValue={choice} maxLength={120} aria-label={say("field-choice", { letter })} placeholder={letter} required autoComplete="off" {...described(field)} />
                {problem(field)}
              </div>
            );
          })}
          {problem("correct")}
        </fieldset>
        <p className="field">
          <label htmlFor="explanation">{say("field-explanation")}</label>
          <textarea id="explanation" name="explanation" rows={3} maxLength={600} defaultValue={draft.explanation} {...described("explanation", "explanation-hint")} />
          <span className="hint" id="explanation-hint">
            {say("field-explanation-hint")}
          </span>
          {problem("explanation")}
        </p>
        <div className="pair">
          <Choice field="topic" value={draft.topic} values={TOPICS} words="topic" rest={described("topic")} problem={problem("topic")} />
          <Choice field="lang" value={draft.lang} values={LANGS} words="lang" rest={described("lang")} problem={problem("lang")} />
        </div>
        <p className="actions">
          <button className="button" name="intent" value="save">
            {say(isNew ? "publish" : "save")}
          </button>{" "}
          <button className="quiet" formAction="/questions/preview" formNoValidate>
            {say("preview")}
          </button>{" "}
          {!isNew && (
            <button className="quiet danger" name="intent" value="delete" formNoValidate onClick={(event) => confirmed(say("delete-sure")) || event.preventDefault()}>
              {say("delete")}
            </button>
          )}
        </p>
      </Form>
      <div id="preview" aria-live="polite">
        {preview && <Preview draft={draft} />}
      </div>
    </section>
  );
}

export function confirmed(question: string): boolean {
  return window.confirm(question);
}

interface Chosen {
  readonly field: string;
  readonly value: string;
  readonly values: readonly string[];
  readonly words: string;
  readonly rest: object;
  readonly problem: ReactNode;
}

function Choice({ field, value, values, words, rest, problem }: Chosen) {
  const say = useSay();
  return (
    <p className="field">
      <label htmlFor={field}>{say(`field-${field}`)}</label>
      <select id={field} name={field} defaultValue={value} {...rest}>
        {values.map((each) => (
          <option key={each} value={each}>
            {say(`${words}-${each}`)}
          </option>
        ))}
      </select>
      {problem}
    </p>
  );
}

/** How the question would look; nothing is stored. */
function Preview({ draft }: { draft: Draft }) {
  const say = useSay();
  return (
    <section className="preview" aria-labelledby="preview-title">
      <h2 id="preview-title">{say("preview-title")}</h2>
      <div className="question">
        {TOPICS.includes(draft.topic) && <p className={`topic topic-${draft.topic}`}>{say(`topic-${draft.topic}`)}</p>}
        <p className="prompt">{draft.prompt || "…"}</p>
        <ol className="outcome">
          {draft.choices.map((choice, index) => (
            <li className={`choice${draft.correct === index + 1 ? " right" : ""}`} key={index}>
              <span className="letter" aria-hidden="true">
                {"ABCD"[index]}
              </span>
              <span className="text">{choice || "…"}</span>
            </li>
          ))}
        </ol>
        {draft.explanation && <p className="why">{draft.explanation}</p>}
      </div>
    </section>
  );
}
