// Draws the charts from the data in the page. It uses no network and writes no HTML.
(function () {
  "use strict";
  var specs = JSON.parse(document.getElementById("charts").textContent);
  var drawn = [];

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  }

  function short(value) {
    var size = Math.abs(value);
    if (size >= 1e9) return +(value / 1e9).toFixed(1) + " G";
    if (size >= 1e6) return +(value / 1e6).toFixed(1) + " M";
    if (size >= 1e4) return +(value / 1e3).toFixed(1) + " k";
    return value.toLocaleString("en-US", { maximumFractionDigits: size < 10 ? 2 : 0 });
  }

  function valueText(value, unit, digits) {
    if (unit === "seconds") {
      return value < 1 ? +(value * 1000).toFixed(0) + " ms" : +value.toFixed(value < 10 ? 1 : 0) + " s";
    }
    return value.toLocaleString("en-US", { maximumFractionDigits: digits || 2 }) + (unit ? " " + unit : "");
  }

  function tick(axis) {
    return function (value) {
      if (axis.log) {
        var head = value / Math.pow(10, Math.floor(Math.log10(value) + 1e-9));
        if ([1, 2, 5].indexOf(Math.round(head * 1e6) / 1e6) < 0) return "";
      }
      return axis.unit === "seconds" ? valueText(value, "seconds") : short(value);
    };
  }

  function dataset(spec, series) {
    var tint = colour(series.colour);
    var found = {
      label: series.label,
      borderColor: tint,
      backgroundColor: series.fill ? tint + "33" : tint,
      order: series.order || 0
    };
    if (spec.type === "scatter") {
      found.data = series.data.map(function (place) { return { x: place[0], y: place[1] }; });
      found.backgroundColor = tint + "b0";
      found.pointRadius = spec.points > 1200 ? 2 : 3;
      found.borderWidth = 0;
      found.tips = series.tips;
      return found;
    }
    found.data = series.data;
    if ((series.type || spec.type) === "bar") {
      found.type = "bar";
      found.pointStyle = "rect";
      found.stack = series.stack || "all";
      found.barPercentage = 1;
      found.categoryPercentage = spec.apart || 1;
      found.backgroundColor = tint;
    } else {
      found.type = "line";
      found.pointStyle = "line";
      found.borderWidth = series.dashed ? 1.5 : 2;
      found.borderDash = series.dashed ? [6, 4] : series.dotted ? [3, 3] : [];
      // A point without neighbours has no line, so it gets a dot.
      found.pointRadius = function (context) {
        var at = context.dataIndex, data = series.data;
        if (series.dots) return 4;
        return !series.joined && data[at - 1] == null && data[at + 1] == null && !series.dashed ? 2.5 : 0;
      };
      found.pointHitRadius = 8;
      found.fill = Boolean(series.fill);
      found.stepped = Boolean(series.dashed);
      found.spanGaps = Boolean(series.joined);
      if (series.dots) found.pointStyle = "circle";
      found.showLine = !series.dots;
    }
    if (series.axis) found.yAxisID = series.axis;
    return found;
  }

  function axis(kind, side) {
    return {
      position: side,
      type: kind.log ? "logarithmic" : "linear",
      beginAtZero: !kind.log,
      suggestedMin: kind.least,
      suggestedMax: kind.most,
      stacked: Boolean(kind.stacked),
      title: { display: true, text: kind.title },
      grid: {
        drawTicks: false,
        color: function (context) {
          // On a logarithmic axis, only the lines with a figure.
          var silent = side === "right" || (context.tick && tick(kind)(context.tick.value) === "");
          return silent ? "transparent" : colour("grid");
        }
      },
      border: { display: false },
      ticks: { callback: tick(kind), precision: kind.whole ? 0 : undefined, autoSkip: !kind.log, maxTicksLimit: kind.log ? 60 : 7, padding: 6 }
    };
  }

  // Vertical lines at values of the x axis, each with its label at the top.
  function marks(spec) {
    return {
      id: "marks",
      beforeDatasetsDraw: function (chart) {
        var context = chart.ctx, area = chart.chartArea;
        context.save();
        context.strokeStyle = colour("soft");
        context.fillStyle = colour("soft");
        context.textAlign = "right";
        spec.marks.forEach(function (mark) {
          var x = chart.scales.x.getPixelForValue(mark.at);
          context.setLineDash(mark.dashed ? [3, 4] : []);
          context.beginPath();
          context.moveTo(x, area.top);
          context.lineTo(x, area.bottom);
          context.stroke();
          context.fillText(mark.label, x - 4, area.top + (mark.dashed ? 10 : 24));
        });
        context.restore();
      }
    };
  }

  function draw(spec) {
    var canvas = document.getElementById(spec.id);
    var scatter = spec.type === "scatter";
    // The spans with a round time have a label; a narrow chart shows every second one.
    var labelled = (spec.ticks || []).reduce(function (found, text, at) { return text ? found.concat(at) : found; }, []);
    function timeTick(value) {
      var place = labelled.indexOf(value);
      return place % (this.chart.width < 420 ? 2 : 1) === 0 ? spec.ticks[value] : "";
    }
    var scales = {
      x: {
        type: scatter ? "linear" : "category",
        title: { display: Boolean(spec.x), text: spec.x },
        grid: { color: scatter ? colour("grid") : "transparent", drawTicks: false },
        border: { color: colour("line") },
        stacked: Boolean(spec.y.stacked),
        ticks: { maxRotation: 0, autoSkip: !spec.ticks, autoSkipPadding: 18, maxTicksLimit: 9, padding: 6,
                 callback: scatter ? short : timeTick }
      },
      y: axis(spec.y, "left")
    };
    if (scatter) scales.y.beginAtZero = false;
    if (!scatter && !spec.ticks) delete scales.x.ticks.callback;
    if (spec.y2) scales.y2 = axis(spec.y2, "right");
    return new Chart(canvas, {
      type: scatter ? "scatter" : "bar",
      plugins: spec.marks ? [marks(spec)] : [],
      data: { labels: spec.labels, datasets: spec.series.map(function (each) { return dataset(spec, each); }) },
      options: {
        animation: false,
        responsive: true,
        maintainAspectRatio: false,
        interaction: scatter ? { mode: "nearest", intersect: true } : { mode: "index", intersect: false },
        scales: scales,
        plugins: {
          legend: {
            position: "bottom",
            display: scatter || spec.series.length > 1,
            labels: { color: colour("ink"), boxHeight: 7, padding: 12, usePointStyle: true,
              pointStyleWidth: scatter ? 9 : 22,
              sort: scatter ? undefined : function (one, other) { return one.datasetIndex - other.datasetIndex; } }
          },
          tooltip: {
            callbacks: {
              label: function (item) {
                if (scatter) {
                  var tip = item.dataset.tips[item.dataIndex];
                  return [tip[0], "row " + tip[1] + (tip[2] === null ? "" : ", id " + tip[2])];
                }
                if (item.raw === null) return null;
                var unit = item.dataset.yAxisID === "y2" ? spec.y2.unit : spec.y.unit;
                return item.dataset.label + ": " + valueText(item.raw, unit, spec.y.digits);
              }
            }
          }
        }
      }
    });
  }

  function all() {
    drawn.forEach(function (chart) { chart.destroy(); });
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    Chart.defaults.font.size = 12;
    Chart.defaults.color = colour("soft");
    drawn = specs.map(draw);
  }

  all();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  // Print in light mode.
  function paper(wanted) {
    return function () { document.documentElement.classList.toggle("paper", wanted); all(); };
  }
  addEventListener("beforeprint", paper(true));
  addEventListener("afterprint", paper(false));
})();
