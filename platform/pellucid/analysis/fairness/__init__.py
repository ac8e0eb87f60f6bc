"""Fairness from counts: metrics by group, how far groups are apart, and what that amounts to.

    cuts        values of a sensitive column -> groups, and groups of several columns crossed
    counting    one pass over the rows -> a `Table` of counts; tables of parts add up
    metrics     table -> any metric by group, with limits
    disparities metric by group -> largest difference and smallest ratio, with limits
    criteria    disparity -> a verdict: which disparities are judged, and against what
    impact      table -> selection rates and impact ratios, the four-fifths rule
    auditing    all of that for every sensitive column of a model, part by part

Everything counts rows, each once, whatever weight training gave them: rows are people here.
"""
