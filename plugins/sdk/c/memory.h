/* Memory of decisions. Not for plugins: they use <stdlib.h>. */
#ifndef WASMSERVE_MEMORY_H
#define WASMSERVE_MEMORY_H

/* Whatever is allocated from now on is given back by `memory_rewind`. Called when the configuration was read. */
void memory_mark(void);

/* Gives back what was allocated since `memory_mark`. Called when a decision begins. */
void memory_rewind(void);

#endif
