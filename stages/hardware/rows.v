// Multiplication as rows on carry chains, for FPGAs: yosys techmap of `$mul`, used for the microarchitecture "rows".
//
// Row i adds A * B[i] to the upper bits of what the rows before left, and its lowest bit is final. The row is one
// `$alu`, so that the AND of the partial product fits into the look-up table in front of the carry chain: about one
// table a bit. In two's complement the top row has negative weight and subtracts (BI and CI set).
(* techmap_celltype = "$mul" *)
module multiply_by_rows (A, B, Y);
    parameter A_SIGNED = 0;
    parameter B_SIGNED = 0;
    parameter A_WIDTH = 1;
    parameter B_WIDTH = 1;
    parameter Y_WIDTH = 1;

    (* force_downto *) input [A_WIDTH-1:0] A;
    (* force_downto *) input [B_WIDTH-1:0] B;
    (* force_downto *) output [Y_WIDTH-1:0] Y;

    // yosys treats operands of unequal signedness as unsigned; Amaranth never emits them
    wire _TECHMAP_FAIL_ = A_SIGNED != B_SIGNED;
    localparam SIGNED = A_SIGNED && B_SIGNED;
    localparam ROW = A_WIDTH + 1;
    localparam FULL = A_WIDTH + B_WIDTH;

    wire [ROW*B_WIDTH-1:0] sums; // row after row
    wire [FULL-1:0] full;
    wire [A_WIDTH-1:0] first = A & {A_WIDTH{B[0]}};
    assign sums[ROW-1:0] = {SIGNED ? first[A_WIDTH-1] : 1'b0, first};

    genvar i;
    generate
        for (i = 1; i < B_WIDTH; i = i + 1) begin : row
            localparam [0:0] NEGATIVE = SIGNED && i == B_WIDTH - 1;
            wire [ROW-1:0] before = sums[ROW*(i-1) +: ROW];
            wire [A_WIDTH-1:0] partial = A & {A_WIDTH{B[i]}};
            wire [ROW-1:0] unused_x, unused_carry;
            \$alu #(
                .A_SIGNED(0), .B_SIGNED(0), .A_WIDTH(ROW), .B_WIDTH(ROW), .Y_WIDTH(ROW)
            ) adder (
                .A({SIGNED ? before[ROW-1] : 1'b0, before[ROW-1:1]}),
                .B({SIGNED ? partial[A_WIDTH-1] : 1'b0, partial}),
                .BI(NEGATIVE), .CI(NEGATIVE),
                .Y(sums[ROW*i +: ROW]), .X(unused_x), .CO(unused_carry)
            );
            assign full[i-1] = before[0];
        end
    endgenerate
    assign full[FULL-1:B_WIDTH-1] = sums[ROW*(B_WIDTH-1) +: ROW];

    generate
        if (Y_WIDTH <= FULL)
            assign Y = full[Y_WIDTH-1:0];
        else
            assign Y = {{(Y_WIDTH - FULL){SIGNED ? full[FULL-1] : 1'b0}}, full};
    endgenerate
endmodule
