// fork in the middle of calls, twice over, from a thread, with handlers of pthread_atfork; vfork,
// posix_spawn and exec; a daemon. Child processes go on tracing in their own trees.
// Runs: fork twice thread atfork vfork spawn thread_exec daemon
#include <pthread.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "scenario.hpp"

extern char** environ;

namespace scenario {

TRACED int leaf(int x) {
    KEEP(x);
    return x + 1;
}
TRACED int works(int x) {
    int below = leaf(x);
    KEEP(below);
    return below + 1;
}
TRACED void throws(int x) {
    KEEP(x);
    throw x;
}

UNTRACED int exit_code_of(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// The child returns out of all of these, catches an exception on the way, and ends by exit().
TRACED int forks(int depth, pid_t& child) {
    KEEP(depth);
    if (depth == 0) {
        child = fork();
        if (child == 0) recorder::process("child");
        return works(depth);
    }
    int below = forks(depth - 1, child);
    KEEP(below);
    return below + 1;
}
TRACED int catches(int x) {
    try {
        throws(x);
    } catch (int caught) {
        return leaf(caught);
    }
    return 0;
}
TRACED void fork_deep() {
    pid_t child;
    int result = forks(2, child);
    if (child == 0) {
        std::printf("child: %d %d\n", result, catches(1));
        std::exit(7);
    }
    std::printf("exit code %d\n", exit_code_of(child));
    std::printf("parent: %d %d\n", result, catches(2));
}

// A child of the child; both end by _exit.
TRACED void fork_twice() {
    leaf(0);
    const pid_t child = fork();
    if (child == 0) {
        recorder::process("child");
        leaf(1);
        const pid_t grandchild = fork();
        if (grandchild == 0) {
            recorder::process("grandchild");
            works(2);
            recorder::finish();
            _exit(9);
        }
        const int code = exit_code_of(grandchild);
        works(3);
        recorder::finish();
        _exit(code + 1);
    }
    std::printf("exit code %d\n", exit_code_of(child));
    works(4);
}

// A thread forks: in the child it is the only one.
TRACED void* works_there(void* result) {
    works(2);
    return result;
}
TRACED void* forks_here(void*) {
    leaf(0);
    const pid_t child = fork();
    if (child == 0) {
        recorder::process("child");
        works(1);
        pthread_t other;
        pthread_create(&other, nullptr, works_there, nullptr);
        pthread_join(other, nullptr);
        std::exit(3);
    }
    std::printf("exit code %d\n", exit_code_of(child));
    works(4);
    return nullptr;
}
TRACED void fork_from_thread() {
    pthread_t thread;
    pthread_create(&thread, nullptr, forks_here, nullptr);
    pthread_join(thread, nullptr);
}

TRACED void prepares() { leaf(1); }
TRACED void in_parent() { leaf(2); }
TRACED void in_child() {
    recorder::process("child");
    catches(3);
}
TRACED void fork_with_handlers() {
    pthread_atfork(prepares, in_parent, in_child);
    const pid_t child = fork();
    if (child == 0) {
        leaf(4);
        std::exit(5);
    }
    std::printf("exit code %d\n", exit_code_of(child));
}

// The child of vfork runs on the parent's stack, in its memory: what it calls belongs to the
// parent's tree, and is left when the parent goes on.
TRACED void child_of_vfork(const char* program) {
    leaf(1);
    if (program == nullptr) _exit(6);
    execl(program, program, static_cast<char*>(nullptr));
    _exit(127);
}
TRACED int vforks(const char* program) {
    leaf(0);
    const pid_t child = vfork();
    if (child == 0) child_of_vfork(program);
    const int code = exit_code_of(child);
    works(code);
    return code;
}

TRACED int spawns(const char* program) {
    char name[] = "program";
    char* const arguments[] = {name, nullptr};
    pid_t child = 0;
    leaf(0);
    if (posix_spawn(&child, program, nullptr, nullptr, arguments, environ) != 0) return -1;
    const int code = exit_code_of(child);
    works(code);
    return code;
}
TRACED int forks_and_execs(const char* program) {
    const pid_t child = fork();
    if (child == 0) {
        recorder::process("child");
        leaf(1);
        recorder::finish();
        execl(program, program, static_cast<char*>(nullptr));
        _exit(127);
    }
    return leaf(exit_code_of(child));
}

// All threads of the child go, in the middle of calls.
TRACED void* execs(void* program) {
    leaf(1);
    recorder::finish();
    auto* const path = static_cast<const char*>(program);
    execl(path, path, static_cast<char*>(nullptr));
    _exit(127);
}
TRACED int execs_in_thread(char* program) {
    const pid_t child = fork();
    if (child == 0) {
        recorder::process("child");
        pthread_t thread;
        pthread_create(&thread, nullptr, execs, program);
        pthread_join(thread, nullptr);
        _exit(126);
    }
    return leaf(exit_code_of(child));
}

// In the background; the first process waits for the end of its output.
TRACED void becomes_daemon() {
    int ends[2];
    if (pipe(ends) != 0) return;
    const pid_t child = fork();
    if (child == 0) {
        recorder::process("daemon");
        close(ends[0]);
        leaf(1);
        if (daemon(1, 1) != 0) _exit(1);
        dprintf(ends[1], "daemon: %d\n", works(2));
        std::exit(0);
    }
    close(ends[1]);
    std::printf("exit code %d\n", exit_code_of(child));
    char text[100];
    std::size_t length = 0;
    for (ssize_t n; (n = read(ends[0], text + length, sizeof text - length)) > 0;)
        length += static_cast<std::size_t>(n);
    std::printf("%.*s", static_cast<int>(length), text);
    leaf(3);
}

}  // namespace scenario

int main(int count, char** arguments) {
    using namespace scenario;
    using recorder::expect;
    std::setvbuf(stdout, nullptr, _IONBF, 0);
    const char* const how = count > 1 ? arguments[1] : "";
    if (std::strcmp(how, "fork") == 0) fork_deep();
    if (std::strcmp(how, "twice") == 0) fork_twice();
    if (std::strcmp(how, "thread") == 0) fork_from_thread();
    if (std::strcmp(how, "atfork") == 0) fork_with_handlers();
    if (std::strcmp(how, "vfork") == 0) {
        expect(vforks(nullptr) == 6, "vfork and _exit");
        expect(vforks("/bin/false") == 1, "vfork and exec");
    }
    if (std::strcmp(how, "spawn") == 0) {
        expect(spawns("/bin/true") == 0 && spawns("/bin/false") == 1, "posix_spawn");
        expect(spawns("/no/such/program") == -1, "no program");
        expect(forks_and_execs("/bin/false") == 2, "fork and exec");
    }
    if (std::strcmp(how, "thread_exec") == 0) {
        char program[] = "/bin/false";
        expect(execs_in_thread(program) == 2, "exec in a thread");
    }
    if (std::strcmp(how, "daemon") == 0) becomes_daemon();
    std::puts("end of main");
}
