import { index, layout, route, type RouteConfig } from "@react-router/dev/routes";

export default [
  layout("routes/frame.tsx", [
    index("routes/home.tsx"),
    route("next", "routes/next.ts"),
    route("questions", "routes/create.tsx"),
    route("questions/new", "routes/new.tsx"),
    route("questions/preview", "routes/preview.tsx"),
    route("questions/:question", "routes/question.tsx"),
    route("questions/:question/answer", "routes/answer.tsx"),
    route("questions/:question/edit", "routes/edit.tsx"),
    route("questions/:question/report", "routes/report.ts"),
    route("api/questions/:question/star", "routes/star.ts"),
    route("me", "routes/me.tsx"),
    route("sign-in", "routes/sign-in.ts"),
    route("sign-in/done", "routes/signed-in.ts"),
    route("sign-out", "routes/sign-out.ts"),
    route("language", "routes/language.ts"),
    route("webhooks/review", "routes/review.ts"),
    route("healthz", "routes/healthz.ts"),
    route("readyz", "routes/readyz.ts"),
    route("*", "routes/nothing.ts"),
  ]),
] satisfies RouteConfig;
