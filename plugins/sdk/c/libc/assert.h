/* A mistake of the plugin's traps: the client gets 500, and the server's log says where it happened. */
#undef assert
#define assert(condition) ((condition) ? (void)0 : __builtin_trap())
