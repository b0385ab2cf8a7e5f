import { Form, Link } from "@remix-run/react";
import { useState } from "react";

import { CsrfField, useCsrfToken, useSay, useVisitor } from "./common";

const REASONS = ["wrong", "unclear", "unkind"];

interface Asked {
  readonly id: string;
  readonly lang: string;
  readonly topic: string;
  readonly prompt: string;
  readonly choices: readonly string[];
}

interface Answered extends Asked {
  readonly correct: number;
  readonly explanation: string;
}

export function Ask({ question, attempt, problem }: { question: Asked; attempt: string; problem?: string }) {
  const say = useSay();
  return (
    <Form id="question" className="question" method="post" action={`/questions/${question.id}/answer`}>
      <CsrfField />
      <input type="hidden" name="attempt" value={attempt} />
      <p className={`topic topic-${question.topic}`}>{say(`topic-${question.topic}`)}</p>
      <h1 id="prompt" lang={question.lang}>
        {question.prompt}
      </h1>
      {problem !== undefined && (
        <p className="problem" id="problem" role="alert">
          {say(`problem-${problem}`)}
        </p>
      )}
      <fieldset aria-labelledby="prompt" aria-describedby={problem !== undefined ? "problem" : undefined}>
        <legend className="unseen">{say("choose-one")}</legend>
        {question.choices.map((choice, index) => (
          <label className="choice" key={choice}>
            <input type="radio" name="choice" value={index + 1} required />
            <span className="letter" aria-hidden="true">
              {"ABCD"[index]}
            </span>
            <span className="text" lang={question.lang}>
              {choice}
            </span>
          </label>
        ))}
      </fieldset>
      <p className="actions">
        <button className="button">{say("answer")}</button>{" "}
        <Link className="quiet" to={`/next?after=${question.id}`}>
          {say("next-question")}
        </Link>
      </p>
    </Form>
  );
}

export function Outcome({ question, position, right }: { question: Answered; position: number; right: boolean }) {
  const say = useSay();
  return (
    <section id="question" className="question" aria-labelledby="verdict">
      <p className={`topic topic-${question.topic}`}>{say(`topic-${question.topic}`)}</p>
      <h1 lang={question.lang}>{question.prompt}</h1>
      <ol className="outcome">
        {question.choices.map((choice, index) => {
          const [isRight, isYours] = [index + 1 === question.correct, index + 1 === position];
          return (
            <li className={`choice${isRight ? " right" : isYours ? " wrong" : ""}`} key={choice}>
              <span className="letter" aria-hidden="true">
                {"ABCD"[index]}
              </span>
              <span className="text" lang={question.lang}>
                {choice}
              </span>
              {isRight && <span className="mark">{say("mark-right")}</span>}
              {isYours && <span className="mark yours">{say("mark-yours")}</span>}
            </li>
          );
        })}
      </ol>
      <div className={`verdict ${right ? "right" : "wrong"}`}>
        <h2 id="verdict" tabIndex={-1}>
          {say(right ? "verdict-right" : "verdict-wrong")}
        </h2>
        {!right && <p>{say("verdict-was", { text: question.choices[question.correct - 1] ?? "" })}</p>}
        {question.explanation !== "" && <p lang={question.lang}>{question.explanation}</p>}
      </div>
      <p className="actions">
        <Link className="button" to={`/next?after=${question.id}`}>
          {say("next-question")}
        </Link>{" "}
        <Link className="quiet" to="/">
          {say("all-questions")}
        </Link>
      </p>
    </section>
  );
}

/** What a reader may do about a question: star it, report it, or change it where it is theirs. */
export function Marks({ question }: { question: Asked & { mine: boolean; starred: boolean } }) {
  const say = useSay();
  const visitor = useVisitor();
  return (
    <aside className="marks">
      {visitor !== null && <Star question={question} />}
      {question.mine ? (
        <Link className="quiet" to={`/questions/${question.id}/edit`}>
          {say("edit")}
        </Link>
      ) : (
        <details>
          <summary className="quiet">{say("report-title")}</summary>
          <Form className="panel" method="post" action={`/questions/${question.id}/report`}>
            <CsrfField />
            <fieldset>
              <legend>{say("report-ask")}</legend>
              {REASONS.map((reason) => (
                <label className="line" key={reason}>
                  <input type="radio" name="reason" value={reason} required /> {say(`report-${reason}`)}
                </label>
              ))}
            </fieldset>
            <button className="button small-button">{say("report-send")}</button>
          </Form>
        </details>
      )}
    </aside>
  );
}

function Star({ question }: { question: { id: string; starred: boolean } }) {
  const say = useSay();
  const token = useCsrfToken();
  const [starred, setStarred] = useState(question.starred);
  const press = async (): Promise<void> => {
    const answer = await fetch(`/api/questions/${question.id}/star`, {
      method: "PUT",
      headers: { "content-type": "application/json", "x-csrf-token": token },
      body: JSON.stringify({ starred: !starred }),
    });
    if (answer.ok) setStarred(!starred);
  };
  return (
    <button className="quiet star" type="button" aria-pressed={starred} onClick={() => void press()}>
      <span aria-hidden="true">★</span> {say("star")}
    </button>
  );
}
