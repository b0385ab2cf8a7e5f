import { requestId } from "@dodai/remix/observability.server";
import type { ReactNode } from "react";
import {
  Form,
  Link,
  Links,
  Meta,
  NavLink,
  Outlet,
  Scripts,
  ScrollRestoration,
  useLocation,
  useRouteLoaderData,
} from "react-router";

import type { Route } from "./+types/root";
import { CsrfField, pageOf, useSay } from "~/components/common";
import { csrf } from "~/services/csrf.server";
import { headers } from "~/services/headers.server";
import { known, visitorOf } from "~/services/session.server";
import { langOf, wordsIn } from "~/services/words.server";

// Before every action and loader, those of resource routes too: the token, the headers, and who is asking.
export const middleware = [csrf.middleware, headers, known];

export async function loader({ request, context }: Route.LoaderArgs) {
  const lang = langOf(request);
  return { lang, words: wordsIn(lang), visitor: visitorOf(context), csrf: await csrf.field(), requestId: requestId() };
}

export function Layout({ children }: { children: ReactNode }) {
  const data = useRouteLoaderData<typeof loader>("root");
  const say = useSay();
  const here = pageOf(useLocation().pathname);
  const other = data?.lang === "ja" ? "en" : "ja";
  return (
    <html lang={data?.lang ?? "en"}>
      <head>
        <meta charSet="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <link rel="icon" href="/static/mark.svg" type="image/svg+xml" />
        <link rel="stylesheet" href="/static/quiz.css" />
        <Meta />
        <Links />
      </head>
      <body>
        <a className="skip" href="#content">
          {say("skip")}
        </a>
        <header className="top">
          <div className="wide">
            <Link className="brand" to="/">
              <img src="/static/mark.svg" alt="" width="28" height="28" />
              {say("brand")}
            </Link>
            <nav aria-label={say("main-nav")}>
              <NavLink to="/" end>
                {say("nav-questions")}
              </NavLink>{" "}
              <NavLink to="/questions/new">{say("nav-write")}</NavLink> <NavLink to="/me">{say("nav-me")}</NavLink>
            </nav>
            <div className="corner">
              <Form className="plain" method="post" action="/language" reloadDocument>
                <CsrfField />
                <input type="hidden" name="back" value={here} />
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
                  <input type="hidden" name="back" value={here} />
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

// Where even `routes/frame.tsx` is not reached.
export { ErrorBoundary } from "~/routes/frame";
