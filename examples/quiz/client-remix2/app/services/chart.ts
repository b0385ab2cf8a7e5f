// Two weeks of answers as bars: numbers for the page to draw.

export interface Day {
  readonly date: string;
  readonly answered: number;
  readonly right: number;
}

export interface Bar extends Day {
  readonly month: number;
  readonly day: number;
  readonly x: number;
  readonly height: number;
  readonly rightHeight: number;
}

const DAYS = 14;
const LEAST_SCALE = 4;
const JAPAN_OFFSET_MS = 9 * 3600 * 1000;
export const CHART = { width: 560, height: 100, barWidth: 24 } as const;

/** Fourteen bars up to today in Japan; a day without answers is a gap, not a missing place. */
export function draw(days: readonly Day[], nowMs: number): { bars: Bar[]; most: number } {
  const known = new Map(days.map((day) => [day.date, day]));
  const scale = Math.max(LEAST_SCALE, ...days.map((day) => day.answered));
  const most = scale + (scale % 2); // the rule in the middle is a whole number, too
  const step = CHART.width / DAYS;
  const bars = Array.from({ length: DAYS }, (_, place) => {
    const at = japanese(nowMs - (DAYS - 1 - place) * 24 * 3600 * 1000);
    const { answered, right } = known.get(at.date) ?? { answered: 0, right: 0 };
    return {
      ...at,
      answered,
      right,
      x: rounded(place * step + (step - CHART.barWidth) / 2),
      height: rounded((CHART.height * answered) / most),
      rightHeight: rounded((CHART.height * right) / most),
    };
  });
  return { bars, most };
}

/** The day in Japan, which has no summer time. */
export function japanese(ms: number): { date: string; month: number; day: number } {
  const at = new Date(ms + JAPAN_OFFSET_MS);
  return { date: at.toISOString().slice(0, 10), month: at.getUTCMonth() + 1, day: at.getUTCDate() };
}

function rounded(value: number): number {
  return Math.round(value * 10) / 10;
}
