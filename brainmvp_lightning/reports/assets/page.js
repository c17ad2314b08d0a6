// Readout of charts, hiding of runs, sorting of tables, sliders through time. No library.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const LEFT = 52, RIGHT = 10, TOP = 10, BOTTOM = 26, WIDTH = 420, HEIGHT = 230;

  // --- charts

  const hidden = new Set();

  function chart(figure) {
    const source = figure.querySelector('script[type="application/json"]');
    if (!source) return null;
    const data = JSON.parse(source.textContent);
    const svg = figure.querySelector("svg");
    return {
      data, svg,
      axes: svg.querySelector(".axes"),
      shapes: [...svg.querySelectorAll("[data-run]")],
      cursor: svg.querySelector(".cursor"),
      output: figure.querySelector("output"),
      steps: [...new Set(data.lines.flatMap((line) => line.steps))].sort((a, b) => a - b),
      place: -1,
      log: false,
    };
  }

  const across = (c, step) => LEFT + ((step - c.data.x[0]) / (c.data.x[1] - c.data.x[0])) * (WIDTH - LEFT - RIGHT);

  function up(c, value) {
    let [low, high] = c.data.y;
    if (c.log) [low, high, value] = [Math.log10(c.least), Math.log10(high), Math.log10(Math.max(value, c.least))];
    return HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - BOTTOM - TOP);
  }

  function setLog(c, log) {
    const positive = c.data.lines.flatMap((line) => line.values).filter((value) => value > 0);
    c.least = Math.min(...positive) * 0.9;
    c.log = log && positive.length > 0 && c.least < c.data.y[1];
    c.plain ??= c.axes.innerHTML;
    c.shapes.forEach((shape, i) => {
      const line = c.data.lines[i];
      if (shape.tagName === "circle") shape.setAttribute("cy", up(c, line.values[0]));
      else shape.setAttribute("points", line.steps.map((step, j) => `${across(c, step).toFixed(1)},${up(c, line.values[j]).toFixed(1)}`).join(" "));
    });
    c.axes.innerHTML = c.plain;
    if (c.log) logAxis(c);
  }

  function logAxis(c) {
    for (const old of c.axes.querySelectorAll('line, text[text-anchor="end"]')) old.remove();
    const low = Math.log10(c.least), high = Math.log10(c.data.y[1]);
    const factors = high - low > 2 ? [1] : high - low > 0.8 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
    for (let power = Math.floor(low); power <= high; power += Math.max(1, Math.ceil((high - low) / 6))) {
      for (const factor of factors) {
        const value = factor * 10 ** power;
        if (value < c.least || value > c.data.y[1]) continue;
        const y = up(c, value);
        const line = document.createElementNS(SVG, "line");
        for (const [key, at] of Object.entries({ x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y })) line.setAttribute(key, at);
        const text = document.createElementNS(SVG, "text");
        text.setAttribute("x", LEFT - 6);
        text.setAttribute("y", y + 4);
        text.setAttribute("text-anchor", "end");
        text.textContent = Number(value.toPrecision(3));
        c.axes.append(line, text);
      }
    }
  }

  function read(c, place) {
    c.place = Math.max(0, Math.min(c.steps.length - 1, place));
    const step = c.steps[c.place];
    const words = [`step ${step}`];
    for (const line of c.data.lines) {
      if (hidden.has(line.run)) continue;
      const value = valueAt(line, step);
      if (value !== null) words.push(`${line.label} ${Number(value.toPrecision(4))}`);
    }
    const x = across(c, step);
    for (const [key, at] of Object.entries({ x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM })) c.cursor.setAttribute(key, at);
    c.cursor.removeAttribute("hidden");
    c.output.textContent = words.join("; ");
  }

  // The last value until a step; none before the line begins.
  function valueAt(line, step) {
    let low = 0, high = line.steps.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (line.steps[middle] <= step) low = middle + 1; else high = middle;
    }
    return low ? line.values[low - 1] : null;
  }

  function nearest(c, event) {
    const box = c.svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * WIDTH;
    let best = 0;
    c.steps.forEach((step, i) => {
      if (Math.abs(across(c, step) - x) < Math.abs(across(c, c.steps[best]) - x)) best = i;
    });
    return best;
  }

  function listen(c) {
    c.svg.addEventListener("pointermove", (event) => read(c, nearest(c, event)));
    c.svg.addEventListener("pointerleave", () => forget(c));
    c.svg.addEventListener("blur", () => forget(c));
    c.svg.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: c.place - 1, ArrowRight: c.place + 1, Home: 0, End: c.steps.length - 1 };
      if (!(event.key in moves)) return;
      event.preventDefault();
      read(c, moves[event.key]);
    });
  }

  function forget(c) {
    c.cursor.setAttribute("hidden", "");
    c.output.textContent = "";
  }

  const charts = [...document.querySelectorAll("figure.chart")].map(chart).filter(Boolean);
  charts.forEach(listen);
  document.querySelectorAll(".show-run").forEach((box) => box.addEventListener("change", () => {
    const run = Number(box.dataset.run);
    if (box.checked) hidden.delete(run); else hidden.add(run);
    for (const c of charts) for (const shape of c.shapes) shape.style.display = hidden.has(Number(shape.dataset.run)) ? "none" : "";
  }));
  document.getElementById("log-scale")?.addEventListener("change", (event) => charts.forEach((c) => setLog(c, event.target.checked)));

  // --- tables

  const cell = (row, column) => row.cells[column].textContent;

  function compare(first, second) {
    const a = Number(first), b = Number(second);
    if (!Number.isNaN(a) && !Number.isNaN(b)) return a - b;
    return first.localeCompare(second, undefined, { numeric: true });
  }

  function sort(table, head) {
    const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1, column = head.cellIndex;
    const rows = [...table.tBodies[0].rows].sort((first, second) => {
      const a = cell(first, column), b = cell(second, column);
      if (a === "" || b === "") return (a === "") - (b === ""); // what is missing comes last
      return sign * compare(a, b);
    });
    table.tBodies[0].append(...rows);
    table.closest(".tall").scrollTop = 0;
  }

  function filter(block) {
    const chosen = [...block.querySelectorAll("select")].filter((select) => select.value);
    for (const row of block.querySelector("tbody").rows) {
      row.hidden = chosen.some((select) => select.value === "*"
        ? row.classList.contains("part")
        : cell(row, Number(select.dataset.column)) !== select.value);
    }
  }

  document.querySelectorAll("table.sortable").forEach((table) => {
    for (const head of table.tHead.rows[0].cells) head.querySelector("button").addEventListener("click", () => sort(table, head));
  });
  document.querySelectorAll(".cases").forEach((block) => {
    block.addEventListener("change", () => filter(block));
    filter(block);
  });

  // --- pictures through time

  document.querySelectorAll(".scrubber").forEach((figure) => {
    const images = [...figure.querySelectorAll("img")];
    figure.querySelector("input")?.addEventListener("input", (event) => {
      images.forEach((image, i) => { image.hidden = i !== Number(event.target.value); });
      figure.querySelector("output").textContent = images[Number(event.target.value)].dataset.when;
    });
  });

  addEventListener("beforeprint", () => document.querySelectorAll("main details").forEach((part) => { part.open = true; }));
})();
