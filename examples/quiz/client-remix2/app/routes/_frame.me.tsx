import { type ActionFunctionArgs, json, type LoaderFunctionArgs } from "@remix-run/node";
import { Form, Link, useActionData, useLoaderData } from "@remix-run/react";

import { CsrfField, type Say, useSay } from "~/components/common";
import { ask, asResponse, BackendError, type MyPage } from "~/services/backend.server";
import { type Bar, CHART, draw } from "~/services/chart";
import { csrf } from "~/services/csrf.server";
import { seeOther, signedIn } from "~/services/session.server";
import { langOf } from "~/services/words.server";

export async function loader({ request }: LoaderFunctionArgs) {
  const visitor = await signedIn(request);
  const page = await ask<MyPage>("GetMyPage", { lang: langOf(request) }).catch((error) => {
    throw asResponse(error);
  });
  const { answered, right, past, days } = page;
  const mine = page.mine.map(({ id, prompt }) => ({ id, prompt }));
  return json({ name: page.name || visitor.name, answered, right, past, mine, chart: draw(days, Date.now()) });
}

/** Two forms, one address: `intent` says which of them was sent. */
export async function action({ request }: ActionFunctionArgs) {
  await csrf.verify(request);
  await signedIn(request);
  const form = await request.formData();
  const intent = form.get("intent");
  try {
    if (intent === "clear") await ask("ClearHistory", {});
    else if (intent === "name") await ask("SaveName", { name: String(form.get("name") ?? "") });
    else return json({ problem: "intent" }, { status: 422 });
  } catch (error) {
    if (error instanceof BackendError && error.problems.name) return json({ problem: error.problems.name }, { status: 422 });
    throw asResponse(error);
  }
  return seeOther("/me");
}

export default function MyPageView() {
  const { name, answered, right, past, mine, chart } = useLoaderData<typeof loader>();
  const problem = useActionData<typeof action>()?.problem;
  const say = useSay();
  return (
    <div className="wide me">
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
      </dl>
      <Chart {...chart} />
      <section className="card">
        <h2>{say("me-history")}</h2>
        <ol className="rows">
          {past.map((one) => (
            <li key={`${one.questionId} ${one.answeredAt}`}>
              <Link to={`/questions/${one.questionId}`}>{one.prompt}</Link>
            </li>
          ))}
        </ol>
      </section>
      <section className="card">
        <h2>{say("me-mine")}</h2>
        <ul className="rows">
          {mine.map((question) => (
            <li key={question.id}>
              <Link to={`/questions/${question.id}`}>{question.prompt}</Link>{" "}
              <Link className="quiet" to={`/questions/${question.id}/edit`}>
                {say("edit")}
              </Link>
            </li>
          ))}
        </ul>
      </section>
      <section className="card">
        <h2>{say("me-settings")}</h2>
        <Form className="inline" method="post" action="/me">
          <CsrfField />
          <p className="field">
            <label htmlFor="name">{say("field-name")}</label>
            <input id="name" type="text" name="name" defaultValue={name} maxLength={40} required />
            {problem !== undefined && <span className="problem">{say(`problem-${problem}`)}</span>}
          </p>
          <button className="button small-button" name="intent" value="name">
            {say("save")}
          </button>
        </Form>
        <Form method="post" action="/me" className="clear">
          <CsrfField />
          <p className="small">{say("me-clear-hint")}</p>
          <button className="quiet danger" name="intent" value="clear">
            {say("me-clear")}
          </button>
        </Form>
      </section>
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
