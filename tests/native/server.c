// A library's functions for another process, which speaks to it through pipes: so that a build for another processor
// can be called from here, under an emulator. tests/foreign.py is the other side.
//
//     server LIBRARY < requests > answers
#include <dlfcn.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef uint64_t Word;
typedef Word (*Function)(Word, Word, Word, Word, Word, Word, Word);

static Word word(void) {
    Word value;
    if (fread(&value, sizeof value, 1, stdin) != 1) exit(0);  // the other side has gone
    return value;
}

static void bytes_in(void* to, Word count) {
    if (count && fread(to, count, 1, stdin) != 1) exit(1);
}

static void answer(const void* from, Word count) {
    fwrite(from, 1, count, stdout);
    fflush(stdout);
}

int main(int count, char** arguments) {
    void* library = dlopen(count > 1 ? arguments[1] : "", RTLD_NOW);
    if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
    for (;;) {
        const Word request = word();
        if (request == 0) {  // a copy of some bytes: where it lies
            const Word count = word();
            void* made = malloc(count + 1);
            bytes_in(made, count);
            const Word address = (Word)made;
            answer(&address, sizeof address);
        } else if (request == 1) {  // what lies somewhere now; it is given up
            void* kept = (void*)word();
            answer(kept, word());
            free(kept);
        } else {  // a call
            char name[64];
            bytes_in(name, sizeof name);
            Word given[7];
            bytes_in(given, sizeof given);
            const Function function = (Function)dlsym(library, name);
            if (!function) return fprintf(stderr, "%s\n", dlerror()), 1;
            const Word made = function(given[0], given[1], given[2], given[3], given[4], given[5], given[6]);
            answer(&made, sizeof made);
        }
    }
}
