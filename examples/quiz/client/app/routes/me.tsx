// The page of somebody who is signed in: how it went, what they wrote, what they marked.

import { data, Form, Link } from "react-router";

import type { Route } from "./+types/me";
import { CsrfField, type Say, Title, useSay } from "~/components/common";
import { confirmed } from "~/components/editor";
import { ask, InputError, type MyPage } from "~/services/backend.server";
import { type Bar, CHART, draw, japanese } from "~/services/chart";
import { csrf } from "~/services/csrf.server";
import { seeOther, signedIn } from "~/services/session.server";
import { langOf } from "~/services/words.server";

export async function loader({ request, context }: Route.LoaderArgs) {
  const visitor = signedIn(context);
  const { name, answered, right, past, mine, starred, days } = await ask<MyPage>("GetMyPage", { lang: langOf(request) });
  const named = (questions: MyPage["mine"]) => questions.map(({ id, prompt }) => ({ id, prompt }));
  return {
    name: name || visitor.name,
    answered,
    right,
    past: past.map((one) => ({ ...one, at: japanese(Number(one.answeredAt) * 1000) })),
    mine: named(mine),
    starred: named(starred),
    chart: draw(days, Date.now()),
  };
}

/** Two forms, one address: `intent` says which of them was sent. */
export async function action({ request }: Route.ActionArgs) {
  await csrf.verify(request);
  const form = await request.formData();
  const [intent, name] = [form.get("intent"), String(form.get("name") ?? "")];
  if (intent !== "clear" && intent !== "name") throw data(null, 422);
  try {
    if (intent === "clear") await ask("ClearHistory", {});
    else await ask("SaveName", { name });
  } catch (error) {
    if (error instanceof InputError) return data({ name, problem: error.problems.name ?? "unknown" }, 422);
    throw error;
  }
  return seeOther("/me");
}

export default function Me({ loaderData, actionData }: Route.ComponentProps) {
  const { answered, right, past, mine, starred, chart } = loaderData;
  const [name, problem] = [actionData?.name ?? loaderData.name, actionData?.problem];
  const say = useSay();
  const rate = answered === 0 ? null : Math.round((100 * right) / answered);
  return (
    <div className="wide me">
      <Title>{say("me-title", { name })}</Title>
      <h1>{say("me-title", { name })}</h1>
      <dl className="figures">
        <div>
          <dt>{say("me-answered")}</dt>
          <dd>{answered}</dd>
        </div>
        <div>
          <dt>{say("me-right")}</dt>
          <dd>{right}</dd>
        </div>
        <div>
          <dt>{say("me-rate")}</dt>
          <dd>
            {rate ?? "–"}
            {rate !== null && <small>%</small>}
          </dd>
        </div>
      </dl>
      <Chart {...chart} />
      <div className="columns">
        <section className="card">
          <h2>{say("me-history")}</h2>
          {past.length === 0 ? (
            <p className="small">{say("me-history-none")}</p>
          ) : (
            <ol className="rows">
              {past.map((one) => (
                <li key={`${one.questionId} ${one.answeredAt}`}>
                  <span className={`dot ${one.right ? "right" : "wrong"}`}>
                    <span className="unseen">{say(one.right ? "me-right-mark" : "me-wrong-mark")}</span>
                  </span>
                  <span className="what">
                    {one.deleted ? (
                      <>
                        {one.prompt} <em>({say("me-deleted")})</em>
                      </>
                    ) : (
                      <Link to={`/questions/${one.questionId}`}>{one.prompt}</Link>
                    )}
                  </span>
                  <time className="small" dateTime={one.at.date}>
                    {dayOf(say, one.at)}
                  </time>
                </li>
              ))}
            </ol>
          )}
        </section>
        <div className="stack">
          <section className="card">
            <h2>{say("me-mine")}</h2>
            {mine.length === 0 ? (
              <p className="small">{say("me-mine-none")}</p>
            ) : (
              <ul className="rows">
                {mine.map((question) => (
                  <li key={question.id}>
                    <span className="what">
                      <Link to={`/questions/${question.id}`}>{question.prompt}</Link>
                    </span>
                    <span className="tools">
                      <Link className="quiet" to={`/questions/${question.id}/edit`}>
                        {say("edit")}
                      </Link>
                    </span>
                  </li>
                ))}
              </ul>
            )}
            <p className="actions">
              <Link className="button small-button" to="/questions/new">
                {say("editor-new")}
              </Link>
            </p>
          </section>
          <section className="card">
            <h2>{say("me-starred")}</h2>
            {starred.length === 0 ? (
              <p className="small">{say("me-starred-none")}</p>
            ) : (
              <ul className="rows">
                {starred.map((question) => (
                  <li key={question.id}>
                    <span className="what">
                      <Link to={`/questions/${question.id}`}>{question.prompt}</Link>
                    </span>
                  </li>
                ))}
              </ul>
            )}
          </section>
          <section className="card">
            <h2>{say("me-settings")}</h2>
            <Form className="inline" method="post" action="/me">
              <CsrfField />
              <p className="field">
                <label htmlFor="name">{say("field-name")}</label>
                <input id="name" type="text" name="name" defaultValue={name} maxLength={40} required autoComplete="nickname" {...(problem !== undefined && { "aria-invalid": true, "aria-describedby": "name-problem" })} />
                {problem !== undefined && (
                  <span className="problem" id="name-problem">
                    {say(`problem-${problem}`)}
                  </span>
                )}
              </p>
              <button className="button small-button" name="intent" value="name">
                {say("save")}
              </button>
            </Form>
            <Form method="post" action="/me" className="clear">
              <CsrfField />
              <p className="small" id="clear-hint">
                {say("me-clear-hint")}
              </p>
              <button className="quiet danger" name="intent" value="clear" aria-describedby="clear-hint" onClick={(event) => confirmed(say("me-clear-hint")) || event.preventDefault()}>
                {say("me-clear")}
              </button>
            </Form>
          </section>
        </div>
      </div>
    </div>
  );
}

function Chart({ bars, most }: { bars: readonly Bar[]; most: number }) {
  const say = useSay();
  const { width, height, barWidth } = CHART;
  const answered = bars.filter((bar) => bar.answered > 0);
  return (
    <figure className="card chart">
      <figcaption>
        <h2>{say("me-chart")}</h2>
        <p className="legend" aria-hidden="true">
          <span className="key-right">{say("me-legend-right")}</span> <span className="key-wrong">{say("me-legend-wrong")}</span>
        </p>
      </figcaption>
      <div className="plot" aria-hidden="true">
        <div className="scale">
          <span>{most}</span>
          <span>{most / 2}</span>
          <span>0</span>
        </div>
        <svg viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" focusable="false">
          {[0, 0.5, 1].map((share) => (
            <line key={share} x1="0" x2={width} y1={height * share} y2={height * share} className="rule" />
          ))}
          {answered.map((bar) => (
            <g key={bar.date}>
              <rect x={bar.x} y={height - bar.height} width={barWidth} height={bar.height} className="all" />
              <rect x={bar.x} y={height - bar.rightHeight} width={barWidth} height={bar.rightHeight} className="right" />
            </g>
          ))}
        </svg>
        <div className="days">
          {bars.map((bar, index) => (
            <span key={bar.date}>{(bars.length - 1 - index) % 3 === 0 && dayOf(say, bar)}</span>
          ))}
        </div>
      </div>
      <ul className="unseen">
        {answered.map((bar) => (
          <li key={bar.date}>{say("me-chart-text", { day: dayOf(say, bar), right: bar.right, answered: bar.answered })}</li>
        ))}
      </ul>
    </figure>
  );
}

function dayOf(say: Say, { month, day }: { month: number; day: number }): string {
  return say("me-chart-day", { month, day });
}
