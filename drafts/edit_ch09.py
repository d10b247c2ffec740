import json
p = "book/part2_vision/09_pooling.ipynb"
nb = json.load(open(p)); cells = nb["cells"]
src = lambda c: "".join(c["source"])
def put(c, s): c["source"] = s.splitlines(keepends=True)
def at(start):
    found = [i for i, c in enumerate(cells) if start in src(c)]
    assert len(found) == 1, (start, found); return found[0]
def swap(i, a, b):
    s = src(cells[i]); assert s.count(a) == 1, (a, s.count(a)); put(cells[i], s.replace(a, b))
i = at("## The measurement")
put(cells[i], src(cells[i]).rstrip() + """

A third column is of photographs: Fashion-MNIST {cite:p}`xiao2017fashion` (chapter 8) in patches of 4, 7 × 7 tokens, so that there, too, the middle patch is the middle. {glue:text}`ch09-updates-fashion:d` updates, {glue:text}`ch09-seeds-fashion` seeds, 10,000 tests, and each pooling has the better of two learning rates, chosen with photographs that judge nothing.""")
i = at('recorded = teach.result("ch09_pooling")')
put(cells[i], '''recorded = teach.result("ch09_pooling")
photographs = teach.result("ch09_pooling_fashion")
# trained on -> pooling -> tested on -> one number a seed, in percent
accuracy = {}
for one in (recorded, photographs):
    print(one["command"], "·", one["device"], "· torch",
          one["versions"]["torch"], "· seeds", one["seeds"])
    for place, rows in one["figures"]["accuracy"].items():
        accuracy[place] = {
            name: {test: 100 * np.array(v) for test, v in tests.items()}
            for name, tests in rows.items()}
        teach.glue(f"ch09-updates-{place}", one["figures"]["updates"][place])
teach.glue("ch09-seeds", len(recorded["seeds"]))
teach.glue("ch09-seeds-fashion", len(photographs["seeds"]))''')
i = at("fig, axes = plt.subplots(1, 2, figsize=(7.2, 2.9), sharey=True)")
s = src(cells[i])
s = s.replace("plt.subplots(1, 2, figsize=(7.2, 2.9), sharey=True)", "plt.subplots(1, 3, figsize=(7.4, 2.9), sharey=True)")
a = s.index("    ax.set(\n        title=f\"pair at the"); b = s.index("    ax.grid(True")
s = s[:a] + '    ax.set(title=headings[place], xlabel="accuracy, %")\n' + s[b:]
s = s.replace("fig, axes =", 'headings = {"centre": "pair in the centre", "border": "pair at the border",\n            "fashion": "photographs"}\nfig, axes =')
put(cells[i], s)
meta = cells[i]["metadata"]["mystnb"]
print(meta)
i = at('tests = {"centre": ("centre", "centre")')
swap(i, '"shifted": ("border", "centre")}', '"shifted": ("border", "centre"),\n         "photographs": ("fashion", "fashion")}')
json.dump(nb, open(p, "w"), indent=1, ensure_ascii=False); open(p, "a").write("\n")
