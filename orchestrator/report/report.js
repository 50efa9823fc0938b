"use strict";
// Behaviour of the page: figure themes, tabs, filters, sorting and saving. The preceding scripts define FIGURES and Plotly.
const THEMES = {
  light: { ink: "#1c1f24", grid: "#e3e6ea", line: "#b4bbc4", box: "#ffffff" },
  dark: { ink: "#e6e9ed", grid: "#2c323a", line: "#56606c", box: "#1d2127" },
};
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const CONFIG = { displaylogo: false, responsive: true, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d"]] };

function themed(layout, theme) {
  const axis = {
    gridcolor: theme.grid, linecolor: theme.line, zerolinecolor: theme.line, tickcolor: theme.line, automargin: true,
    showline: true, ticks: "outside", zeroline: false, title: { standoff: 12 },
  };
  const template = {
    layout: {
      font: { color: theme.ink, family: "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif" },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", xaxis: axis, yaxis: axis,
      hoverlabel: { bgcolor: theme.box, bordercolor: theme.line, font: { color: theme.ink } },
      legend: { bgcolor: "rgba(0,0,0,0)" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: theme.line, activecolor: theme.ink },
    },
  };
  return { ...layout, template };
}

function draw(plot) {
  const spec = FIGURES[Number(plot.id.split("-")[1])];
  const theme = dark.matches && !window.printing ? THEMES.dark : THEMES.light;
  // A copy, since plotly modifies its arguments.
  const layout = themed(JSON.parse(JSON.stringify(spec.layout)), theme);
  return Plotly.react(plot, JSON.parse(JSON.stringify(spec.data)), layout, CONFIG);
}

const visible = (plot) => plot.offsetParent !== null;
function drawVisible() { document.querySelectorAll(".plot").forEach((plot) => { if (visible(plot)) draw(plot); }); }

function select(buttons, chosen, attribute) {
  buttons.forEach((button) => button.setAttribute(attribute, String(button === chosen)));
}

document.querySelectorAll("section > .tabs").forEach((tabs) => {
  const buttons = [...tabs.querySelectorAll("button")];
  const figures = [...tabs.closest("section").querySelectorAll("figure")];
  buttons.forEach((button) => button.addEventListener("click", () => {
    select(buttons, button, "aria-selected");
    figures.forEach((figure) => {
      const plots = [...figure.querySelectorAll(".plot")].filter((plot) => plot.dataset.tab);
      plots.forEach((plot) => { plot.hidden = plot.dataset.tab !== button.textContent; });
      // A figure without a plot in this tab is hidden together with its title.
      figure.hidden = plots.length > 0 && plots.every((plot) => plot.hidden);
    });
    drawVisible();
  }));
});

document.querySelectorAll("nav.chapters button").forEach((button, _, buttons) => button.addEventListener("click", () => {
  select(buttons, button, "aria-selected");
  document.querySelectorAll(".chapter").forEach((chapter) => { chapter.hidden = chapter.id !== `chapter-${button.dataset.chapter}`; });
  drawVisible();
}));

document.querySelectorAll("[data-save]").forEach((button) => button.addEventListener("click", () => {
  const plot = [...button.closest("figure").querySelectorAll(".plot")].find(visible);
  const spec = FIGURES[Number(plot.id.split("-")[1])];
  // Saved figures go into papers and slides, so they are light on white whatever the page's theme.
  const layout = { ...themed(spec.layout, THEMES.light), paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff" };
  const size = { width: Math.max(700, plot.clientWidth), height: spec.layout.height || 450, scale: button.dataset.save === "png" ? 2 : 1 };
  Plotly.downloadImage({ data: spec.data, layout }, { format: button.dataset.save, filename: fileName(plot.dataset.name), ...size });
}));

const fileName = (name) => name.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
const bodyRows = (table) => [...table.querySelectorAll("tbody tr")];
// A cell such as "12 min" also has its exact number, so that seconds and hours in one column are sorted and saved in one unit.
const text = (cell) => cell.dataset.value ?? cell.textContent.trim();
const cells = (row) => [...row.children].map(text);

function csv(table) {
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
  const rows = bodyRows(table);
  const unit = (column) => rows.map((row) => row.children[column].dataset.unit).find(Boolean);
  const headings = cells(table.querySelector("thead tr")).map((name, column) => (unit(column) ? `${name} (${unit(column)})` : name));
  return [headings, ...rows.filter((row) => !row.hidden).map(cells)].map((row) => row.map(quoted).join(",")).join("\n") + "\n";
}

document.querySelectorAll("[data-csv]").forEach((button) => button.addEventListener("click", () => {
  const block = button.closest(".table");
  const text = csv(block.querySelector("table"));
  if (button.dataset.csv === "copy" && navigator.clipboard) {
    navigator.clipboard.writeText(text).then(() => {
      const before = button.textContent;
      button.textContent = "copied";
      setTimeout(() => { button.textContent = before; }, 1500);
    });
    return;
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = `${fileName(block.dataset.name)}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}));

document.querySelectorAll(".filter").forEach((filter) => {
  const rows = bodyRows(filter.closest(".table"));
  // "stopped at 29%" and "stopped at 79%" share one filter.
  const kind = (row) => cells(row)[Number(filter.dataset.column)].replace(/ at .*/, "");
  const kinds = [...new Set(rows.map(kind))];
  if (kinds.length < 2) return;
  const buttons = ["all", ...kinds].map((label) => {
    const button = document.createElement("button");
    button.type = "button";
    const count = label === "all" ? rows.length : rows.filter((row) => kind(row) === label).length;
    button.textContent = `${label} (${count})`;
    button.setAttribute("aria-pressed", String(label === "all"));
    button.addEventListener("click", () => {
      select(buttons, button, "aria-pressed");
      rows.forEach((row) => { row.hidden = label !== "all" && kind(row) !== label; });
    });
    filter.append(button);
    return button;
  });
});

document.querySelectorAll("th").forEach((heading) => heading.addEventListener("click", () => {
  const table = heading.closest("table");
  const column = [...heading.parentElement.children].indexOf(heading);
  const ascending = heading.getAttribute("aria-sort") !== "ascending";
  heading.parentElement.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const number = (text) => parseFloat(text.replace(/,/g, ""));
  const order = (a, b) => {
    const [x, y] = [cells(a)[column], cells(b)[column]];
    const [m, n] = [number(x), number(y)];
    return (Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y) : m - n) * (ascending ? 1 : -1);
  };
  table.querySelector("tbody").append(...bodyRows(table).sort(order));
}));

dark.addEventListener("change", drawVisible);
// Prints are white and contain every chapter, so figures are drawn in the light theme before printing and redrawn afterwards.
const chapters = [...document.querySelectorAll(".chapter")];
let unopened = [];
window.addEventListener("beforeprint", () => {
  window.printing = true;
  unopened = chapters.filter((chapter) => chapter.hidden);
  unopened.forEach((chapter) => { chapter.hidden = false; });
  drawVisible();
});
window.addEventListener("afterprint", () => {
  window.printing = false;
  unopened.forEach((chapter) => { chapter.hidden = true; });
  drawVisible();
});
drawVisible();
document.documentElement.dataset.drawn = "yes";
