import { json, type LoaderFunctionArgs } from "@remix-run/node";
import { Link, useLoaderData } from "@remix-run/react";

import { useSay } from "~/components/common";
import { ask, asResponse, type Question } from "~/services/backend.server";
import { visitorOf } from "~/services/session.server";
import { langOf } from "~/services/words.server";

export async function loader({ request }: LoaderFunctionArgs) {
  await visitorOf(request);
  const message = { lang: langOf(request), topic: new URL(request.url).searchParams.get("topic") ?? "" };
  const found = await ask<{ questions: Question[] }>("ListQuestions", message).catch((error) => {
    throw asResponse(error);
  });
  return json({ questions: found.questions.map(({ id, lang, topic, prompt }) => ({ id, lang, topic, prompt })) });
}

export default function Home() {
  const { questions } = useLoaderData<typeof loader>();
  const say = useSay();
  return (
    <>
      <section className="hero wide">
        <h1>{say("home-title")}</h1>
        <p className="lead">{say("home-lead")}</p>
        <p>
          <Link className="button" to="/next">
            {say("start")}
          </Link>
        </p>
      </section>
      <section className="wide">
        <ol className="rows">
          {questions.map((question) => (
            <li key={question.id}>
              <Link to={`/questions/${question.id}`} lang={question.lang}>
                {question.prompt}
              </Link>
            </li>
          ))}
        </ol>
      </section>
    </>
  );
}
