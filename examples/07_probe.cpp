// Probes: handlers at the entry and the exit of one function, which see its arguments, its result
// and its exceptions by their types.
#include <ftrace/ftrace.hpp>

#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>

class account {
public:
    __attribute__((noinline)) int withdraw(int amount) {
        if (amount > balance_) throw std::runtime_error("not enough");
        balance_ -= amount;
        return balance_;
    }

private:
    int balance_ = 100;
};

__attribute__((noinline)) std::string fetch(const std::string& page) {
    std::printf("    (%s comes over a slow line)\n", page.c_str());
    return "<" + page + ">";
}

static void run() {
    account mine;
    for (const int amount : {30, 500, 60}) {
        try {
            std::printf("  %d left\n", mine.withdraw(amount));
        } catch (const std::runtime_error& e) {
            std::printf("  caught: %s\n", e.what());
        }
    }
    for (const char* const page : {"news", "news"}) std::printf("  %s\n", fetch(page).c_str());
}

int main() {
    std::puts("As written:");
    run();

    std::puts("With two probes:");
    {
        // What on_enter returns is kept until the call ends. Arguments and result may be changed.
        auto audit = ftrace::probe<&account::withdraw>(
            [](account&, int& amount) {
                const int asked = amount;
                if (amount > 50) amount = 50;
                return asked;
            },
            [](ftrace::probe_exit<int>& exit, int& asked) {
                if (exit.returned())
                    std::printf("  -> asked for %d, returns %d\n", asked, exit.result());
                else
                    std::printf("  -> asked for %d, throws %s\n", asked, exit.exception()->name());
            });
        // Handlers may capture, and answer in the function's place.
        std::map<std::string, std::string> cache{{"news", "<no news, from the cache>"}};
        auto cached = ftrace::probe<&fetch>(
            [&](ftrace::probe_call<std::string>& call, const std::string& page) {
                if (const auto known = cache.find(page); known != cache.end())
                    call.skip(known->second);
            });
        if (!audit) return std::puts(audit.error().message.c_str()), 1;
        if (!cached) return std::puts(cached.error().message.c_str()), 1;
        run();
    }  // each probe ends with its scope

    std::puts("As written, again:");
    run();
}
