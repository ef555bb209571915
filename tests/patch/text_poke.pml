/* The order of writes by which text changes while it is executed (arch/text_poke.hpp, patch/transaction.hpp,
 * patch/trap_handler.hpp, patch/evacuation.hpp), for one site, THREADS cores that run through it all the time, and a
 * patcher that switches it on, off, and on again.
 *
 * A byte of the site is known by its version: that of the old instruction, that of the new one, or an int3. What a core
 * decodes comes from a copy of its own, of which each byte becomes current at any time, or never, but for a
 * serialisation: that is less than any processor promises. An instruction is torn if its bytes are not all of one
 * version.
 *
 * The first time there are five one-byte nops (gcc's), between which a thread may stand.
 *
 * With one of these defined a step is left out, and the checker has to find what then goes wrong:
 *     NO_FIRST_SYNC NO_SECOND_SYNC   a serialisation
 *     NO_EVACUATION                  threads stay between the nops
 *     NO_STALE_TRAPS                 the handler does not know of traps from before the end
 *     NO_WAIT                        the patcher does not wait for handlers
 *     TAIL_FIRST                     the other bytes are written before the int3
 *
 * Without the last serialisation nothing goes wrong: a core that takes the first byte for an int3 still traps once more.
 */
#ifndef THREADS
#define THREADS 2
#endif
#define BYTES 3 /* of an instruction: the first, and two that stand for the others */
#define CHANGES 3

#define TRAP 255 /* as a byte's version */

/* where a thread is */
#define IN_SITE 0   /* at byte pc */
#define TRAPPED 1   /* SIGTRAP is on its way; the int3 lies before pc */
#define HANDLER 2   /* has counted itself, and looks */
#define BEHIND 3    /* behind the site, in what follows */

byte text[BYTES];
bool several_nops = true; /* the old version is one nop a byte */
byte current = 0;         /* the version before the change that is going on; the new one is current + 1 */
bool published = false;   /* the batch, to the handler */
bool decided = false;
byte handlers = 0;
byte finished = 0;        /* every thread that enters the site runs at least this version */

byte core[THREADS * BYTES];
byte pc[THREADS];
byte place[THREADS];
bool asked[THREADS];      /* a question is pending as a SIGTRAP */
bool by_int3[THREADS];    /* the SIGTRAP on its way is that of an int3 */
byte entered[THREADS];    /* `finished` when it entered the site */

#define CORE(t, i) core[(t) * BYTES + (i)]

inline serialize(t) {
    d_step { CORE(t, 0) = text[0]; CORE(t, 1) = text[1]; CORE(t, 2) = text[2]; }
}

/* The thread has done an instruction's work of version v. */
inline work(t, v) {
    assert(v >= entered[t]); /* nobody runs what was gone before it came */
    place[t] = BEHIND;
}

/* pass() in trap_handler.hpp */
inline pass(t) {
    if
    :: decided -> work(t, current + 1)
    :: else -> work(t, current)
    fi
}

proctype thread(byte t) {
    byte head;
    bool see_batch;
    bool question;
end:
    do
    /* the copy becomes current, byte by byte */
    :: place[t] == IN_SITE && CORE(t, 0) != text[0] -> CORE(t, 0) = text[0]
    :: place[t] == IN_SITE && CORE(t, 1) != text[1] -> CORE(t, 1) = text[1]
    :: place[t] == IN_SITE && CORE(t, 2) != text[2] -> CORE(t, 2) = text[2]

    /* executes what it decodes */
    :: atomic { place[t] == IN_SITE && pc[t] == 0 ->
        head = CORE(t, 0);
        if
        :: head == TRAP ->
            place[t] = TRAPPED;
            by_int3[t] = !asked[t]; /* one pending SIGTRAP swallows another */
            pc[t] = 1
        :: head != TRAP && several_nops && head == 0 -> pc[t] = 1
        :: else ->
            assert(CORE(t, 1) == head && CORE(t, 2) == head); /* not torn */
            work(t, head)
        fi }
    :: atomic { place[t] == IN_SITE && pc[t] > 0 ->
        assert(CORE(t, pc[t]) == 0); /* still a nop */
        pc[t] = pc[t] + 1;
        if
        :: pc[t] == BYTES -> work(t, 0)
        :: else
        fi }

    /* a question reaches a thread that runs */
    :: atomic { place[t] == IN_SITE && asked[t] -> place[t] = TRAPPED; by_int3[t] = false }
    :: atomic { place[t] == BEHIND && asked[t] -> serialize(t); asked[t] = false }

    /* on_trap() */
    :: atomic { place[t] == TRAPPED -> handlers++; place[t] = HANDLER }
    :: place[t] == HANDLER ->
        see_batch = published;
        question = !by_int3[t];
        if
        :: question -> atomic {
            if
            :: see_batch && pc[t] == 1 -> pass(t) /* an int3's signal was lost, or the first nop is behind it */
            :: see_batch && pc[t] > 1 -> work(t, 0) /* the rest of the nops does nothing */
            :: !see_batch && pc[t] == 1 -> pc[t] = 0; place[t] = IN_SITE
            :: else -> place[t] = IN_SITE
            fi;
            serialize(t);
            asked[t] = false }
        :: !question && see_batch -> pass(t)
        :: !question && !see_batch -> atomic {
#ifdef NO_STALE_TRAPS
            assert(false);
#endif
            assert(text[0] != TRAP); /* else it is taken for somebody else's */
            pc[t] = 0;
            place[t] = IN_SITE }
        fi;
        handlers--

    /* comes again */
    :: atomic { place[t] == BEHIND && !asked[t] -> pc[t] = 0; entered[t] = finished; place[t] = IN_SITE }
    od
}

/* membarrier(): an interrupt on every core, which returns to what it then decodes anew */
inline synchronize_cores() {
    k = 0;
    do
    :: k < THREADS -> serialize(k); k++
    :: else -> break
    od
}

inline wait_for_handlers() {
#ifdef NO_WAIT
    skip
#else
    handlers == 0
#endif
}

inline evacuate() {
    k = 0;
    do
    :: k < THREADS -> asked[k] = true; k++
    :: else -> break
    od;
    k = 0;
    do
    :: k < THREADS -> !asked[k]; k++
    :: else -> break
    od
}

proctype patcher() {
    byte k;
    byte i;
    byte change;
    do
    :: change == CHANGES -> break
    :: else ->
        decided = false;
        published = true;
        wait_for_handlers();
#ifdef TAIL_FIRST
        for (i : 1 .. BYTES - 1) { text[i] = current + 1 }
#endif
        text[0] = TRAP;
#ifndef NO_FIRST_SYNC
        synchronize_cores();
#endif
#ifndef NO_EVACUATION
        if
        :: several_nops -> evacuate()
        :: else
        fi;
#endif
        decided = true;
        for (i : 1 .. BYTES - 1) { text[i] = current + 1 }
#ifndef NO_SECOND_SYNC
        synchronize_cores();
#endif
        text[0] = current + 1;
        synchronize_cores();
        published = false;
        wait_for_handlers();
        d_step { current++; several_nops = false; finished = current }
        change++
    od
}

init {
    byte t;
    atomic {
        for (t : 0 .. THREADS - 1) { place[t] = BEHIND; run thread(t) }
        run patcher()
    }
}
