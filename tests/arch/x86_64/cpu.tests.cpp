#include <catch2/catch_test_macros.hpp>
#include <fstream>
#include <ftrace/arch/cpu.hpp>
#include <sstream>
#include <string>

TEST_CASE("cpu: the widest vector register is what the kernel says the CPU has", "[arch]") {
    std::ifstream file("/proc/cpuinfo");
    std::string line, word;
    while (std::getline(file, line) && line.rfind("flags", 0) != 0) {
    }
    REQUIRE(line.rfind("flags", 0) == 0);
    // The kernel leaves out what it does not switch on for programs.
    bool avx = false, avx512 = false;
    for (std::istringstream words(line); words >> word;) {
        avx |= word == "avx";
        avx512 |= word == "avx512f";
    }
    using enum ftrace::arch::vector_width;
    CHECK(ftrace::arch::widest_vector_register() == (avx512 ? zmm : avx ? ymm : xmm));
}
