import { requestId } from "@dodai/remix/observability.server";
import { json, type LoaderFunctionArgs } from "@remix-run/node";
import {
  Form,
  Link,
  Links,
  Meta,
  Outlet,
  Scripts,
  ScrollRestoration,
  useLocation,
  useRouteLoaderData,
} from "@remix-run/react";
import type { ReactNode } from "react";

import { CsrfField, useSay } from "~/components/common";
import { csrf } from "~/services/csrf.server";
import { visitorOf } from "~/services/session.server";
import { langOf, wordsIn } from "~/services/words.server";

export async function loader({ request }: LoaderFunctionArgs) {
  const lang = langOf(request);
  const visitor = await visitorOf(request);
  return json({ lang, words: wordsIn(lang), visitor, csrf: await csrf.field(request), requestId: requestId() });
}

export function Layout({ children }: { children: ReactNode }) {
  const data = useRouteLoaderData<typeof loader>("root");
  const say = useSay();
  const { pathname } = useLocation();
  const other = data?.lang === "ja" ? "en" : "ja";
  return (
    <html lang={data?.lang ?? "en"}>
      <head>
        <meta charSet="utf-8" />
        <meta name="viewport" content="width=device-width,initial-scale=1" />
        <link rel="icon" href="/static/mark.svg" />
        <link rel="stylesheet" href="/static/quiz.css" />
        <Meta />
        <Links />
      </head>
      <body>
        <header className="top">
          <div className="wide">
            <Link className="brand" to="/">
              {say("brand")}
            </Link>
            <nav aria-label={say("main-nav")}>
              <Link to="/">{say("nav-questions")}</Link> <Link to="/questions/new">{say("nav-write")}</Link>{" "}
              <Link to="/me">{say("nav-me")}</Link>
            </nav>
            <div className="corner">
              <Form className="plain" method="post" action="/language" reloadDocument>
                <CsrfField />
                <input type="hidden" name="back" value={pathname} />
                <button className="quiet" name="lang" value={other} lang={other}>
                  {say("switch-lang")}
                </button>
              </Form>
              {data?.visitor ? (
                <Form className="plain" method="post" action="/sign-out" reloadDocument>
                  <CsrfField />
                  <button className="quiet">{say("sign-out")}</button>
                </Form>
              ) : (
                <Form className="plain" method="post" action="/sign-in" reloadDocument>
                  <CsrfField />
                  <input type="hidden" name="back" value={pathname} />
                  <button className="quiet strong">{say("sign-in")}</button>
                </Form>
              )}
            </div>
          </div>
        </header>
        <main id="content" tabIndex={-1}>
          {children}
        </main>
        <footer>
          <p className="wide">{say("footer")}</p>
        </footer>
        <ScrollRestoration />
        <Scripts />
      </body>
    </html>
  );
}

export default function App() {
  return <Outlet />;
}

// Where even `routes/_frame.tsx` is not reached.
export { ErrorBoundary } from "~/routes/_frame";
