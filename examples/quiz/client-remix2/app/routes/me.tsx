import { type ActionFunctionArgs, json, type LoaderFunctionArgs } from "@remix-run/node";
import { Form, Link, useActionData, useLoaderData } from "@remix-run/react";

import { CsrfField, useSay } from "~/components/common";
import { ask, asResponse, BackendError, type MyPage } from "~/services/backend.server";
import { csrf } from "~/services/csrf.server";
import { seeOther, signedIn } from "~/services/session.server";
import { langOf } from "~/services/words.server";

export async function loader({ request }: LoaderFunctionArgs) {
  const visitor = await signedIn(request);
  const page = await ask<MyPage>("GetMyPage", { lang: langOf(request) }).catch((error) => {
    throw asResponse(error);
  });
  const { answered, right } = page;
  return json({ name: page.name || visitor.name, answered, right, past: page.past.slice(0, 20) });
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
  const { name, answered, right, past } = useLoaderData<typeof loader>();
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
