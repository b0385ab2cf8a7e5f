import { json, type LoaderFunctionArgs } from "@remix-run/node";
import { Form } from "@remix-run/react";

import { CsrfField, useSay } from "~/components/common";
import { signedIn } from "~/services/session.server";

const TOPICS = ["art", "history", "places", "science", "words"];

export async function loader({ request }: LoaderFunctionArgs) {
  await signedIn(request);
  return json({});
}

export default function NewQuestion() {
  const say = useSay();
  return (
    <section className="narrow">
      <h1>{say("editor-new")}</h1>
      <Form className="editor" method="post" action="/questions">
        <CsrfField />
        <p className="field">
          <label htmlFor="prompt">{say("field-prompt")}</label>
          <textarea id="prompt" name="prompt" rows={3} maxLength={200} required />
        </p>
        <fieldset className="field">
          <legend>{say("field-choices")}</legend>
          {[1, 2, 3, 4].map((n) => (
            <div className="option" key={n}>
              <input type="radio" name="correct" value={n} aria-label={say("field-correct", { letter: "ABCD"[n - 1]! })} required />
              <input type="text" name={`choice${n}`} maxLength={120} aria-label={say("field-choice", { letter: "ABCD"[n - 1]! })} required />
            </div>
          ))}
        </fieldset>
        <p className="field">
          <label htmlFor="explanation">{say("field-explanation")}</label>
          <textarea id="explanation" name="explanation" rows={3} maxLength={600} />
        </p>
        <p className="field">
          <select name="topic" aria-label={say("field-topic")}>
            {TOPICS.map((topic) => (
              <option key={topic} value={topic}>
                {say(`topic-${topic}`)}
              </option>
            ))}
          </select>{" "}
          <select name="lang" aria-label={say("field-lang")}>
            <option value="en">{say("lang-en")}</option>
            <option value="ja">{say("lang-ja")}</option>
          </select>
        </p>
        <p className="actions">
          <button className="button">{say("publish")}</button>
        </p>
      </Form>
    </section>
  );
}
