// The filter over the findings. Without it every row shows.
"use strict";
(() => {
  const form = document.getElementById("filter");
  if (!form) return;
  const rows = [...document.querySelectorAll("table.findings tbody tr")];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const words = document.getElementById("words");
  const type = document.getElementById("type");
  const scanner = document.getElementById("scanner");
  const boxes = [...form.querySelectorAll("input[type=checkbox]")];
  const shown = document.getElementById("shown");
  const apply = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const grades = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    let count = 0;
    rows.forEach((row, at) => {
      const show =
        grades.has(row.dataset.severity) &&
        (!type.value || row.dataset.type === type.value) &&
        (!scanner.value || row.dataset.scanners.split(" ").includes(scanner.value)) &&
        wanted.every((word) => texts[at].includes(word));
      row.hidden = !show;
      count += show ? 1 : 0;
    });
    shown.textContent = `${count} of ${rows.length} shown`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
})();
