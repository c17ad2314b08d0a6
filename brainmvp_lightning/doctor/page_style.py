"""Looks of the HTML page."""

STYLE = """
:root{--ink:#1d2733;--soft:#66727f;--line:#e3e7ec;--error:#c62842;--warning:#b26a00;--note:#2563a0;
--fine:#1d8a56}
*{box-sizing:border-box}
body{margin:0;background:#f5f6f8;color:var(--ink);
font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
header{background:#12263a;color:#fff;padding:24px 32px}
header h1{margin:0;font-size:22px;letter-spacing:.02em}
header p{margin:6px 0 0;color:#b9c7d6}
main{max-width:1240px;margin:0 auto;padding:20px 24px}
section{background:#fff;border:1px solid var(--line);border-radius:10px;padding:18px 22px;
margin:0 0 18px}
section.tiles{display:grid;grid-template-columns:repeat(5,1fr);gap:12px;background:none;border:0;padding:0}
.tile{background:#fff;border:1px solid var(--line);border-top:4px solid #9fb0c0;
border-radius:10px;padding:12px 14px}
.tile b{display:block;font-size:24px;white-space:nowrap}
.tile span{color:var(--soft);font-size:13px}
.tile.error{border-top-color:var(--error)}.tile.error b{color:var(--error)}
.tile.warning{border-top-color:var(--warning)}.tile.warning b{color:var(--warning)}
.tile.note{border-top-color:var(--note)}.tile.fine{border-top-color:var(--fine)}
.tile.fine b{color:var(--fine)}
h2{margin:0 0 12px;font-size:18px}h3{margin:18px 0 8px;font-size:15px}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;vertical-align:top;padding:6px 10px;border-bottom:1px solid var(--line);
overflow-wrap:break-word}
thead th{color:var(--soft);font-weight:600;white-space:nowrap}
table.heat,table.sets,table.small{width:auto}
table.findings{table-layout:fixed;min-width:760px}
table.findings th,table.findings td{overflow-wrap:break-word}
table.findings :is(th,td):nth-child(1){width:15%}
table.findings :is(th,td):nth-child(2){width:19%}
table.findings :is(th,td):nth-child(3){width:36%}
table.heat thead th:nth-child(n+2),table.sets thead th:nth-child(n+2){text-align:center}
table.small td{min-width:70px}
table.heat td{text-align:center;min-width:64px;border:2px solid #fff;border-radius:6px}
table.heat td small{display:block;font-size:11px;opacity:.8}
table.sets td{text-align:center;min-width:48px}
td.dot::before{content:"";display:inline-block;width:11px;height:11px;border-radius:50%;
background:#dde2e8}
td.dot.on::before{background:var(--note)}
table.sets td.bar{min-width:180px;text-align:left;white-space:nowrap}
td.bar i{display:inline-block;height:11px;max-width:70%;background:#9cc0e0;border-radius:3px;
margin-right:8px}
details{border-top:1px solid var(--line);padding:8px 0}
details:first-of-type{border-top:0}
summary{cursor:pointer;font-weight:600}
summary small,figcaption{color:var(--soft);font-weight:400}
figcaption b{color:var(--ink)}
.chip{display:inline-block;border-radius:20px;padding:0 9px;font-size:12px;color:#fff}
.chip.error{background:var(--error)}.chip.warning{background:var(--warning)}
.chip.note{background:var(--note)}
.figures{display:flex;flex-wrap:wrap;gap:16px}
figure{margin:0;border:1px solid var(--line);border-radius:8px;padding:10px;flex:0 1 auto;
min-width:300px;max-width:100%}
figure ul{max-width:560px}
figure ul{list-style:none;margin:6px 0 0;padding:0;font-size:13px}
figure li{margin:3px 0}figure small,.more{color:var(--soft)}
img{max-width:100%;height:auto;border-radius:6px;display:block;margin-top:6px}
footer{text-align:center;color:var(--soft);padding:0 0 28px}
@media print{body{background:#fff}section{break-inside:avoid}}
""".replace("\n", "")
