import { data, Link } from "react-router";

import type { Route } from "./+types/home";
import { Rate, useSay } from "~/components/common";
import { ask, type Question } from "~/services/backend.server";
import { langOf } from "~/services/words.server";

const TOPICS = ["art", "history", "places", "science", "words"];

export async function loader({ request }: Route.LoaderArgs) {
  const topic = new URL(request.url).searchParams.get("topic") ?? "";
  if (topic !== "" && !TOPICS.includes(topic)) throw data(null, 404);
  const { questions } = await ask<{ questions: Question[] }>("ListQuestions", { lang: langOf(request), topic });
  const shown = questions.map(({ id, topic, prompt, answered, answeredRight }) => ({ id, topic, prompt, answered, answeredRight }));
  return { topic, questions: shown };
}

export default function Home({ loaderData: { topic, questions } }: Route.ComponentProps) {
  const say = useSay();
  return (
    <>
      <title>{`${say("brand")} – ${say("tagline")}`}</title>
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
        <nav className="chips" aria-label={say("topics")}>
          <Link to="/" aria-current={topic === "" ? "true" : undefined}>
            {say("all-topics")}
          </Link>{" "}
          {TOPICS.map((each) => (
            <Link key={each} to={`/?topic=${each}`} aria-current={topic === each ? "true" : undefined}>
              {say(`topic-${each}`)}
            </Link>
          ))}
        </nav>
        {questions.length === 0 ? (
          <p className="empty">{say("no-questions")}</p>
        ) : (
          <ul className="cards">
            {questions.map((question) => (
              <li key={question.id}>
                <p className={`topic topic-${question.topic}`}>{say(`topic-${question.topic}`)}</p>
                <h2>
                  <Link to={`/questions/${question.id}`}>{question.prompt}</Link>
                </h2>
                <p className="small">
                  <Rate {...question} />
                </p>
              </li>
            ))}
          </ul>
        )}
      </section>
    </>
  );
}
